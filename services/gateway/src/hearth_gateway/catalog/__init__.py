"""What can be asked: models, their variants and knowledge bases, folded from watched resources."""
