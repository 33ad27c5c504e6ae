"""What Ray Serve runs: one application per model variant, engines behind one Protocol."""
