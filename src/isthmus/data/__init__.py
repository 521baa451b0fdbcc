"""Real data sets as records, read from where packages put them."""
