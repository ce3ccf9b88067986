"""What an encoder makes of single images: predictions and nearest neighbours."""
