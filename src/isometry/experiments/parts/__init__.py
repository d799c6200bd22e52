"""What studies are made of: classifiers, samples, training loops, tables and claims."""
