"""CatLIP: pre-training an image encoder by classifying the nouns of captions, and the machinery it trains on."""
