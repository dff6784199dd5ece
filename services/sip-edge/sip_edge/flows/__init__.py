"""The order of the steps: requests inwards, NOTIFYs outwards, outcomes back."""
