"""The model learns: torch and lightning-fabric, with no knowledge of files, scikit-learn or plots."""
