"""Performance predictors: models that rank genomes before they are trained."""
