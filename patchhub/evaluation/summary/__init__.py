"""From numbers by case to lines with intervals, retention and costs. Torch-free."""
