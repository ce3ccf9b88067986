"""Steps of a finished or stopped pre-training, executed again and compared with what it left."""
