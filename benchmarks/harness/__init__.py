"""What the benchmark scripts share: their arguments, the machine's facts, the programs that are compared."""
