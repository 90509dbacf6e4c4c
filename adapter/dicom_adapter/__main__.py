"""`python -m dicom_adapter` is the command `dicom-adapter`."""

from dicom_adapter.cli import run

if __name__ == "__main__":
    run()
