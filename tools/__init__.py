"""Programs that write documents from their sources. No service imports them."""
