"""Personal and secret data in text: finding and masking it."""
