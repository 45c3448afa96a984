"""Estimators that know arrays and no subject."""
