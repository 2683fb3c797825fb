"""Asks the fleet questions as people do, or as a test wants them, and tells what came of them."""
