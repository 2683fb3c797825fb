"""The Flink job `score-validator`: scores answers and decides what becomes of them."""
