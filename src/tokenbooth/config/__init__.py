"""What an operator writes, as values: settings, models, plans, prices, and what each kind of upstream does."""
