"""The deployment files, the documents and the demo, held against the code.

``test_architecture.py`` holds the packages and the direction of their imports.
"""
