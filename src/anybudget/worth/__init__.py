"""What a search is worth, and whether a supernet is a judge: trained networks say so, with their errors."""
