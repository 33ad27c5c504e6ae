"""The Hearth operator: reconciles Hearth resources into Ray Serve applications and Kubernetes objects."""
