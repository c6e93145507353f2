"""TensorFlow SavedModels in and out; TensorFlow runs in a process of its own."""
