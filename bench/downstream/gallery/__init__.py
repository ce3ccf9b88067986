"""What an encoder makes of single images: predictions, nearest neighbours and a map."""
