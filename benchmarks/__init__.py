"""What a rendered service costs, beside its limits and beside the textbook."""
