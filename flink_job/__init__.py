"""The Flink job `score-validator`: scores answers and decides what happens to them."""
