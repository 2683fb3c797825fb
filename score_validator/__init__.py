"""BERTScore over HTTP: how close an answer comes to a reference answer."""
