"""The starter data set, which is drawn and composed here: `python -m catlip.data.starter`."""
