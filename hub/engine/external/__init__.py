"""External producers: processes of the application that claim answers and post their parts."""
