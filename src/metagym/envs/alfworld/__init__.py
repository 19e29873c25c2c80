"""ALFWorld: household tasks in text, played natively; official games and generated ones."""
