"""What a machine outside the cluster runs, and how it joins and leaves."""
