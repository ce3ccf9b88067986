"""What the paper published, its claims, and what our records say of them."""
