"""BERTScore over HTTP: how similar an answer is to a reference answer."""
