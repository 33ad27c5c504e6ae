"""What computes, behind one Protocol. Each engine imports its libraries inside functions only."""
