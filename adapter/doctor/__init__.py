"""What is wrong with an installation and its variants: read, judged, never changed."""
