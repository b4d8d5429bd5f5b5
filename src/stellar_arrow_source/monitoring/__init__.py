"""What a server tells about itself and the data that passes: health, metrics, analytics."""
