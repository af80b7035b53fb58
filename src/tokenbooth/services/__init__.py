"""What accounts can do, for the API, the dashboard, jobs and commands alike; nothing is rendered here."""
