"""Tables, figures and the page that a clinician and a reviewer read."""
