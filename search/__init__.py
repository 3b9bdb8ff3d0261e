"""The search itself and all that follows it. The only package that knows Ray and Optuna."""
