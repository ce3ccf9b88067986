"""The one training loop. Nothing here knows which method it trains."""
