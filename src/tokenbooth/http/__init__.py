"""HTTP/1.1 to clients: connections, requests in their order, limits, deadlines. It knows no models and no money."""
