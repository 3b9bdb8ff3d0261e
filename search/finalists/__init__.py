"""The best configurations trained anew, weighed and calibrated."""
