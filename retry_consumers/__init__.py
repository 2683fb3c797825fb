"""Failed calls wait out their delay here, then their questions are asked again: one program, two strategies."""
