"""Looking at a dataset before it is trained on: ``python -m autopose.data check data.root=FOLDER``."""
