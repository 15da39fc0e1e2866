"""Reading raw BIDS datasets and naming derivatives."""
