"""Asks the fleet questions at a steady pace and tells what came of them."""
