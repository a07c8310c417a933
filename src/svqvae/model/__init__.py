"""Networks, objectives and training: torch and lightning-fabric, without files, scikit-learn or plots."""
