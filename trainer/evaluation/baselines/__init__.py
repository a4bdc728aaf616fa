"""What any model must beat: predictions and rankings that learn no embedding."""
