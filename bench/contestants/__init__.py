"""What the server is measured beside: a yardstick, and what a user would write instead, for each database."""
