"""moescope: train mixture-of-experts transformers, and test honestly what their experts do."""
