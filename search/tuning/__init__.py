"""The search stage: Tune, guided by the study."""
