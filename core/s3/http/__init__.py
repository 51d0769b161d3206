"""An S3 client of our own for what is done to thousands of small objects, with the least work.

Begin with ``client.py``: signed requests on connections that are kept. It knows the plain good
case; whatever S3 does otherwise is left to botocore by the stores in ``core/s3``.
"""
