"""The parts of ``/runs``: what is asked, the list, one run."""
