"""The order of the steps: plan, one database call for the batch, conclude, tell the others."""
