"""Pretraining of an encoder on audio alone, without a teacher: MATPAC and MATPAC++."""
